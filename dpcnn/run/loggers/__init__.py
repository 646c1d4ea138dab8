"""Where the metrics of a run are kept: a line an epoch, in files of several kinds."""
