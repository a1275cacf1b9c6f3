// @uniswap/smart-order-router in a process of its own, on a node that has Ethereum's contracts at their addresses.
// The first line of stdin says which node, tokens and pools; every other line is one trade; each is answered by one
// line. `ms` is the time of `route` alone, `requests` the calls that it made of the node.
'use strict';

const readline = require('readline');
const { createRequire } = require('module');

const library = createRequire(process.argv[2] + '/');
const { AlphaRouter } = library('@uniswap/smart-order-router');
const { CurrencyAmount, Token, TradeType } = library('@uniswap/sdk-core');
const { Protocol } = library('@uniswap/router-sdk');
const { StaticJsonRpcProvider } = library('@ethersproject/providers');
const { BigNumber } = library('@ethersproject/bignumber');

const MAINNET = 1;
let requests = 0;

function start(given) {
  const provider = new StaticJsonRpcProvider(given.url, MAINNET);
  provider.on('debug', (event) => {
    if (event.action === 'request') requests += 1;
  });
  const tokens = new Map();
  for (const each of given.tokens) {
    tokens.set(each.address.toLowerCase(), new Token(MAINNET, each.address, each.decimals, each.symbol, each.symbol));
  }
  let gasPriceWei = '0';
  const router = new AlphaRouter({
    chainId: MAINNET,
    provider,
    v2SubgraphProvider: { getPools: async () => given.v2.map((pool) => ({ ...pool })) },
    v3SubgraphProvider: { getPools: async () => given.v3.map((pool) => ({ ...pool })) },
    v4SubgraphProvider: { getPools: async () => [] },
    gasPriceProvider: { getGasPrice: async () => ({ gasPriceWei: BigNumber.from(gasPriceWei) }) },
    tokenProvider: {
      getTokens: async () => ({
        getTokenByAddress: (address) => tokens.get(address.toLowerCase()),
        getTokenBySymbol: (symbol) => [...tokens.values()].find((token) => token.symbol === symbol),
        getAllTokens: () => [...tokens.values()],
      }),
    },
    tokenValidatorProvider: { validateTokens: async () => ({ getValidationByToken: () => undefined }) },
    tokenPropertiesProvider: { getTokensProperties: async () => ({}) },
  });
  const protocols = given.protocols.map((name) => Protocol[name]);

  return async (trade) => {
    gasPriceWei = trade.gasPriceWei;
    const [sold, bought] = [tokens.get(trade.sold.toLowerCase()), tokens.get(trade.bought.toLowerCase())];
    const exactIn = trade.exact === 'in';
    const [fixed, other] = exactIn ? [sold, bought] : [bought, sold];
    const type = exactIn ? TradeType.EXACT_INPUT : TradeType.EXACT_OUTPUT;
    const amount = CurrencyAmount.fromRawAmount(fixed, trade.amount);
    const before = requests;
    const began = process.hrtime.bigint();
    const found = await router.route(amount, other, type, undefined, { protocols });
    const ms = Number(process.hrtime.bigint() - began) / 1e6;
    if (!found) return { legs: null, ms, requests: requests - before };
    return {
      quote: found.quote.quotient.toString(),
      legs: found.route.map((leg) => ({ amount: leg.amount.quotient.toString(), pools: leg.poolIdentifiers })),
      ms,
      requests: requests - before,
    };
  };
}

async function main() {
  let ask = null;
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const given = JSON.parse(line);
    let answer;
    try {
      if (ask === null) {
        ask = start(given);
        answer = { ready: true };
      } else {
        answer = await ask(given);
      }
    } catch (error) {
      answer = { error: String(error && error.stack ? error.stack : error).slice(0, 2000) };
    }
    process.stdout.write('@' + JSON.stringify(answer) + '\n');
  }
  process.exit(0);
}

main();
