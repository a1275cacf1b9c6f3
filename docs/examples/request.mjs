// A signed request to Cambist in JavaScript, with nothing but Node.js 18 or newer.
//
//     node docs/examples/request.mjs read GET /v1/ethereum/balances
//     node docs/examples/request.mjs trade POST /v1/ethereum/orders/test \
//         '{"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"}'
//     node docs/examples/request.mjs trade POST /v1/ethereum/orders \
//         '{"market": "ETHUSDC", "side": "sell", "base_amount": "0.1", "client_order_id": "mine-1"}'
//     node docs/examples/request.mjs withdraw POST /v1/ethereum/withdrawals \
//         '{"asset": "ETH", "amount": "0.1", "address": "0x...", "client_withdrawal_id": "pay-1"}'
//
// The first word names the key: CAMBIST_READ_KEY and CAMBIST_READ_SECRET for `read`. CAMBIST_URL is the service.

import { createHash, createHmac, randomBytes } from "node:crypto";
import { pathToFileURL } from "node:url";

/** The signature of one request. `target` is path and query exactly as they are sent. */
export function sign(secret, { timestamp, nonce, method, target, body }) {
  const hash = createHash("sha256").update(body).digest("hex");
  const text = [timestamp, nonce, method, target, hash].join("\n");
  return createHmac("sha256", secret).update(text).digest("hex");
}

/** Send one request, signed with the key of that name. */
export async function request(name, method, target, body = "") {
  const key = process.env[`CAMBIST_${name.toUpperCase()}_KEY`];
  const secret = process.env[`CAMBIST_${name.toUpperCase()}_SECRET`];
  const timestamp = String(Date.now());
  const nonce = randomBytes(16).toString("hex");
  const headers = {
    "X-Cambist-Key": key,
    "X-Cambist-Timestamp": timestamp,
    "X-Cambist-Nonce": nonce,
    "X-Cambist-Signature": sign(secret, { timestamp, nonce, method, target, body }),
  };
  if (body) headers["Content-Type"] = "application/json";
  return fetch(process.env.CAMBIST_URL + target, { method, headers, body: body || undefined });
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [name, method, target, body] = process.argv.slice(2);
  const response = await request(name, method, target, body);
  console.log(await response.text());
  process.exitCode = response.ok ? 0 : 1;
}
