"""Tests of `isslim/service/inference_protocol/`."""
