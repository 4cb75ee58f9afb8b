"""What queries cost, and why: four kinds of queries under every measure, as a table and pictures."""
