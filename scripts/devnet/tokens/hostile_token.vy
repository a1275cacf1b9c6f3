# pragma version 0.4.3
# SPDX-License-Identifier: MIT
"""
@title  A token that misbehaves on command
@notice An ordinary ERC-20 until `misbehave` is called: then it keeps a fee of every transfer, answers
        false without moving anything, or reverts as a paused token does.
@dev    For tests only. Anyone may mint and anyone may switch the behaviour.
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    amount: uint256

event Approval:
    owner: indexed(address)
    spender: indexed(address)
    amount: uint256

BPS: constant(uint256) = 10_000

name: public(String[64])
symbol: public(String[32])
decimals: public(uint8)
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
fee_bps: public(uint256)
returns_false: public(bool)
paused: public(bool)


@deploy
def __init__(_name: String[64], _symbol: String[32], _decimals: uint8):
    self.name = _name
    self.symbol = _symbol
    self.decimals = _decimals


@external
def mint(_to: address, _amount: uint256):
    self.totalSupply += _amount
    self.balanceOf[_to] += _amount
    log Transfer(sender=empty(address), receiver=_to, amount=_amount)


@external
def misbehave(_fee_bps: uint256, _returns_false: bool, _paused: bool):
    assert _fee_bps <= BPS, "fee above 100 %"
    self.fee_bps = _fee_bps
    self.returns_false = _returns_false
    self.paused = _paused


@external
def transfer(_to: address, _amount: uint256) -> bool:
    return self._move(msg.sender, _to, _amount)


@external
def transferFrom(_from: address, _to: address, _amount: uint256) -> bool:
    if not self._move(_from, _to, _amount):
        return False
    self.allowance[_from][msg.sender] -= _amount
    return True


@external
def approve(_spender: address, _amount: uint256) -> bool:
    assert not self.paused, "Pausable: paused"
    if self.returns_false:
        return False
    self.allowance[msg.sender][_spender] = _amount
    log Approval(owner=msg.sender, spender=_spender, amount=_amount)
    return True


@internal
def _move(_from: address, _to: address, _amount: uint256) -> bool:
    assert not self.paused, "Pausable: paused"
    if self.returns_false:
        return False
    fee: uint256 = _amount * self.fee_bps // BPS
    self.balanceOf[_from] -= _amount
    self.balanceOf[_to] += _amount - fee
    self.totalSupply -= fee
    log Transfer(sender=_from, receiver=_to, amount=_amount - fee)
    if fee > 0:
        log Transfer(sender=_from, receiver=empty(address), amount=fee)
    return True
