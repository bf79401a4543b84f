"""What runs and studies cost: where their time went, what they will take, and which settings would be faster here."""
