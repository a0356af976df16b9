"""Scores of labelled pictures, for every object and picture: what a label or a crop looks like beside real ones.

Each filter gives figures, the higher the better, and never only a verdict. Thresholds come from real objects that were held out
(`calibration`): a filter that real labels do not pass is of no use. The unfiltered pictures belong beside the filtered ones in any table.
"""
