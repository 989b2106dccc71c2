"""The words that every package shares: types and rules, without I/O, without frames.

What belongs here is used by more than one package and must be the same in all of them: what a
partition is, what a product's columns are, which assets and checks there are, how a wanted sync is
written down. What only one package needs stays there.
"""
