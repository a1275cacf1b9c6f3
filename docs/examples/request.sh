#!/usr/bin/env bash
# A signed request to Cambist with curl and openssl.
#
#     bash docs/examples/request.sh read GET /v1/ethereum/balances
#     bash docs/examples/request.sh trade POST /v1/ethereum/orders/test \
#         '{"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"}'
#     bash docs/examples/request.sh trade POST /v1/ethereum/orders \
#         '{"market": "ETHUSDC", "side": "sell", "base_amount": "0.1", "client_order_id": "mine-1"}'
#     bash docs/examples/request.sh withdraw POST /v1/ethereum/withdrawals \
#         '{"asset": "ETH", "amount": "0.1", "address": "0x...", "client_withdrawal_id": "pay-1"}'
#
# The first word names the key: CAMBIST_READ_KEY and CAMBIST_READ_SECRET for `read`. CAMBIST_URL is the service.
set -euo pipefail
export LC_ALL=C

sha256() { openssl dgst -sha256 -r | cut -d' ' -f1; }

# HMAC-SHA256 (RFC 2104) of standard input, in hex. Not `openssl -hmac SECRET`: other users see a command's words.
hmac() { # secret
  local secret=$1 inner='' outer='' byte i
  for ((i = 0; i < 64; i++)); do # the secret has 64 characters, SHA-256's block; a shorter one is filled with zeros
    byte=0
    ((i < ${#secret})) && printf -v byte '%d' "'${secret:i:1}"
    printf -v inner '%s\\x%02x' "$inner" $((byte ^ 0x36))
    printf -v outer '%s\\x%02x' "$outer" $((byte ^ 0x5c))
  done
  { printf "$outer"; { printf "$inner"; cat; } | openssl dgst -sha256 -binary; } | sha256
}

# The signature of one request. The target is path and query exactly as they are sent.
sign() { # secret timestamp nonce method target body
  printf '%s\n%s\n%s\n%s\n%s' "$2" "$3" "$4" "$5" "$(printf '%s' "$6" | sha256)" | hmac "$1"
}

request() { # name method target [body]
  local method=$2 target=$3 body=${4:-} name timestamp nonce
  name=$(printf '%s' "$1" | tr '[:lower:]' '[:upper:]')
  local key_variable=CAMBIST_${name}_KEY secret_variable=CAMBIST_${name}_SECRET
  timestamp=$(date +%s)000 # milliseconds; whole seconds are exact enough
  nonce=$(openssl rand -hex 16)
  local send=(--silent --show-error --globoff --path-as-is --request "$method"
    --header "X-Cambist-Key: ${!key_variable}"
    --header "X-Cambist-Timestamp: $timestamp"
    --header "X-Cambist-Nonce: $nonce"
    --header "X-Cambist-Signature: $(sign "${!secret_variable}" "$timestamp" "$nonce" "$method" "$target" "$body")")
  [ -z "$body" ] || send+=(--header 'Content-Type: application/json' --data-binary "$body")
  curl "${send[@]}" --write-out '\n' --fail-with-body "$CAMBIST_URL$target"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then request "$@"; fi
