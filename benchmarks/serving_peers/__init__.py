"""The same graph and the same requests, answered by isslim and by other servers."""
