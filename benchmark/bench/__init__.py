"""Speed on the machine at hand: times as ratios of what was measured beside them in the same run.

Nothing here asserts a time. Bytes and operations are exact; times are medians with an interval.
"""
