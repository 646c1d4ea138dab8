"""Where datasets come from: a word or path of --dataroot becomes a Dataset."""
