"""What a user asks for, as frozen values: the one home of every option."""
