"""Tests mirror the tree; chain/, faults/, crash/, clients/ and golden/ stand beside."""
