"""What a guest is told to do: programs and files, and the record of them."""
