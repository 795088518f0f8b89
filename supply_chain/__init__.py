"""What isslim is made of: dependencies, their licences, bills of materials, known weaknesses."""
