"""Kill -9 at named points under faults, restart, and an oracle that looks at the chain: nothing twice, nothing lost.

trials    what one trial does, drawn from a seed
zygote    a process with all imports done; each life of the service is a fork of it
child     one life of the service: set up, ask for things, be killed, or go on to the end
runner    one trial: chain, proxy, lives
oracle    what must hold afterwards
"""
