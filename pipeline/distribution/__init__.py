"""Training on several workers, one process each: `slipway train --distribute`.

Each worker learns from its share of every batch; their sums are what one worker would have computed.
"""
