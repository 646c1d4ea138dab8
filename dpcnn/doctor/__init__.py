"""The doctor: what may be wrong with the ranks, their hosts and the network between them."""
