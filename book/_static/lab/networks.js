prunekitLab.recorded([
 {
  "number": 0,
  "ratio": 0.0,
  "filters": 2954,
  "parameters": 727626,
  "macs": 42804928,
  "bytes": 2910504,
  "same_class": 0.9980000257492065,
  "test_accuracy": 0.9193
 },
 {
  "number": 1,
  "ratio": 0.1,
  "filters": 2660,
  "parameters": 665889,
  "macs": 40341949,
  "bytes": 2663556,
  "same_class": 0.9980000257492065,
  "test_accuracy": 0.9187
 },
 {
  "number": 2,
  "ratio": 0.2,
  "filters": 2365,
  "parameters": 562717,
  "macs": 36875256,
  "bytes": 2250868,
  "same_class": 0.996999979019165,
  "test_accuracy": 0.9165
 },
 {
  "number": 3,
  "ratio": 0.3,
  "filters": 2071,
  "parameters": 456036,
  "macs": 33216749,
  "bytes": 1824144,
  "same_class": 0.9990000128746033,
  "test_accuracy": 0.9117
 },
 {
  "number": 4,
  "ratio": 0.4,
  "filters": 1776,
  "parameters": 353084,
  "macs": 29272004,
  "bytes": 1412336,
  "same_class": 0.9980000257492065,
  "test_accuracy": 0.9027
 },
 {
  "number": 5,
  "ratio": 0.5,
  "filters": 1482,
  "parameters": 267459,
  "macs": 24923529,
  "bytes": 1069836,
  "same_class": 0.9929999709129333,
  "test_accuracy": 0.8825
 },
 {
  "number": 6,
  "ratio": 0.6,
  "filters": 1188,
  "parameters": 187013,
  "macs": 20611289,
  "bytes": 748052,
  "same_class": 0.9950000047683716,
  "test_accuracy": 0.8467
 },
 {
  "number": 7,
  "ratio": 0.7,
  "filters": 893,
  "parameters": 117612,
  "macs": 16146991,
  "bytes": 470448,
  "same_class": 0.984000027179718,
  "test_accuracy": 0.7612
 },
 {
  "number": 8,
  "ratio": 0.8,
  "filters": 599,
  "parameters": 59549,
  "macs": 10979814,
  "bytes": 238196,
  "same_class": 0.9620000123977661,
  "test_accuracy": 0.5301
 }
]);
