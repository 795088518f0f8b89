"""Recurrent cells that were written out in the body of a Loop, back to LSTM, GRU and RNN."""
