"""What an answer costs: the arithmetic of price, from privacy costs to work and bills."""
