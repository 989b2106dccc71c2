"""What runs beside the pipeline on one machine: the embedded PostgreSQL and the processes of a
development set-up. How tables look and what is read from them does not belong here.
"""
