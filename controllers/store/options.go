package store

import "time"

// Options configure a ConfigMap and a DynamoDB. The zero value works.
type Options struct {
	// CallTimeout bounds one call of the Store with its repetitions; 10 s if zero. Watch is not bounded.
	CallTimeout time.Duration
}

func (o Options) withDefaults() Options {
	if o.CallTimeout == 0 {
		o.CallTimeout = 10 * time.Second
	}
	return o
}
