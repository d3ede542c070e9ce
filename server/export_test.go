package server

// JSONCodec is the codec for the tests that need no server around it.
var JSONCodec = jsonCodec{"json"}
