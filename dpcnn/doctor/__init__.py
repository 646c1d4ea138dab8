"""Looks for what is wrong with the ranks, their hosts and what lies between them."""
