def page(c):
    return ""
