"""Several methods on one backbone. Not a method itself."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from methods.base import Method


@dataclass(frozen=True)
class Union(Method):
    """The methods that `members` returns, attached one after the other."""

    identity = False

    def members(self) -> list[Method]:
        """Return the methods, in the order in which they edit."""
        raise NotImplementedError

    def edit(self, backbone: nn.Module) -> None:
        """Let each member edit the backbone."""
        # the order counts: what a later member wraps holds what the earlier ones added
        for member in self.members():
            member.edit(backbone)

    def inserted(self, backbone: nn.Module) -> int:
        """Return the tokens that the members insert."""
        return sum(member.inserted(backbone) for member in self.members())

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return the first reason that a member gives."""
        return next((r for m in self.members() if (r := m.unsupported(backbone))), None)

    def count(self, backbone: nn.Module) -> int:
        """Return the sum over the members."""
        return sum(member.count(backbone) for member in self.members())
