"""`cotrain bench peers`: the terms' speed and accuracy beside those of other libraries."""
