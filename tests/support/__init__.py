"""What tests share: small victims, gates, ledgers, sweeps and programs."""
