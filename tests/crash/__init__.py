"""Kill -9 at named points under faults, restart, and an oracle that looks at the chain: nothing twice, nothing lost.

subjects   what is asked for, drawn from a seed: withdrawals, orders of each type, transactions, approvals, addresses
trials     what one trial does: subjects, kills, faults
zygote     a process with all imports done; each life of the service is a fork of it
child      one life of the service: set up (household), ask for things (asking), be killed, or go on to the end
runner     one trial: chain, proxy, lives; pushing moves its pools' price, databases holds its rows
oracle     what must hold afterwards, with promises (at any moment) and ledger (of each transaction, order and limit)
"""
