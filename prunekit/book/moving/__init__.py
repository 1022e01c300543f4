"""Figures that move under the reader's hand: a module and a script each, one chart for all."""
