package console

// Drop takes files from browsers.
type Drop struct{}
