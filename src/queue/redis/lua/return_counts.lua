-- Returns the two numbers.
return {counts()}
