"""The arithmetic of price: it turns privacy costs into work, and work into time, energy and money."""
