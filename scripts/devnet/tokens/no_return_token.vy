# pragma version 0.4.3
# SPDX-License-Identifier: MIT
"""
@title  A token with Tether USD's manners
@notice transfer, transferFrom and approve return nothing at all, and approve refuses to change one
        non-zero allowance into another: what the TetherToken at 0xdAC1...1ec7 does on Ethereum.
@dev    Stand-in for the local chains: Tether's own artifact is published nowhere. Fees, blacklist and
        upgrade hooks of the original are left out.
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    amount: uint256

event Approval:
    owner: indexed(address)
    spender: indexed(address)
    amount: uint256

name: public(String[64])
symbol: public(String[32])
decimals: public(uint8)
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
owner: public(address)


@deploy
def __init__(_name: String[64], _symbol: String[32], _decimals: uint8, _owner: address):
    self.name = _name
    self.symbol = _symbol
    self.decimals = _decimals
    self.owner = _owner


@external
def issue(_amount: uint256):
    assert msg.sender == self.owner
    self.totalSupply += _amount
    self.balanceOf[self.owner] += _amount
    log Transfer(sender=empty(address), receiver=self.owner, amount=_amount)


@external
def transfer(_to: address, _amount: uint256):
    self._move(msg.sender, _to, _amount)


@external
def transferFrom(_from: address, _to: address, _amount: uint256):
    allowed: uint256 = self.allowance[_from][msg.sender]
    if allowed != max_value(uint256):
        self.allowance[_from][msg.sender] = allowed - _amount
    self._move(_from, _to, _amount)


@external
def approve(_spender: address, _amount: uint256):
    # The original's guard against the approve race: 0 first, then the new amount.
    assert _amount == 0 or self.allowance[msg.sender][_spender] == 0
    self.allowance[msg.sender][_spender] = _amount
    log Approval(owner=msg.sender, spender=_spender, amount=_amount)


@internal
def _move(_from: address, _to: address, _amount: uint256):
    self.balanceOf[_from] -= _amount
    self.balanceOf[_to] += _amount
    log Transfer(sender=_from, receiver=_to, amount=_amount)
