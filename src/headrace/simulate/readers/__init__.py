"""Traces and site files of others, one file a format. Text in, a ``Trace`` out; no file is opened.

``headrace.simulate.read`` finds the file, unpacks it, and picks the reader.
"""
