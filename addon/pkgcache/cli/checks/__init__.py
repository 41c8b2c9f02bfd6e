"""What `doctor` checks, and the findings that it prints. A check changes nothing and never raises: what goes wrong is a finding."""
