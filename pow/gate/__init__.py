"""The parts of the gate on the wire: signed challenges, the ledger, accounts, decoding, metrics, batching."""

from pow.gate.challenges import Keyring, load_keyring
from pow.gate.gate import Gate, Service
from pow.gate.ledger import Ledger, Limits
from pow.gate.meters import GateMeter, SummedMeter
from pow.gate.opening import open_ledger

__all__ = [
    "Gate",
    "GateMeter",
    "Keyring",
    "Ledger",
    "Limits",
    "Service",
    "SummedMeter",
    "load_keyring",
    "open_ledger",
]
