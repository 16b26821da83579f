"""Linux system calls that Python 3.11 has no function for, as thin typed functions over ctypes.

Every function raises `OSError` with the errno of the call and, where one is involved, the path.
"""
