prunekitLab.detectors([
 {
  "name": "whole",
  "title": "Whole",
  "run": "pedestrian/unpruned-seed0",
  "parameters": 3019750,
  "macs": 616952240,
  "bytes": 12079000,
  "test_average_precision": 0.7601225988369583,
  "test_miss_rate": 0.5881351495420106,
  "pictures": 335
 },
 {
  "name": "half",
  "title": "Without half of its MACs",
  "run": "pedestrian/half-seed0",
  "parameters": 749662,
  "macs": 308210504,
  "bytes": 2998648,
  "test_average_precision": 0.7517200270261484,
  "test_miss_rate": 0.5867470697527896,
  "pictures": 335
 }
]);
