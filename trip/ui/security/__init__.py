"""Who may do what: requests, names of hosts, logins, visitors and their files."""
