"""Copies of data on the node itself, so that a slow or busy file system is read once a node.

``stage`` brings a source near before ranks start; ``resolve`` finds its copies from then on. The
parts between: ``listing`` (what a source is), ``admission`` (what is worth its room), ``owner``
(who may write), ``folder`` (what lies where), ``copying`` (the work), ``limit`` (how much room).
"""
