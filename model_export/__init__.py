"""From a checkpoint to a bundle: decoder and beam search as one ONNX graph, proven before it is written."""
