from snakepit import tool


@tool
def echo(value):
    return value
