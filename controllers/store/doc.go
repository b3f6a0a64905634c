// Package store holds the weight that a cluster should have and the one that it has: in a flag (Static), in a ConfigMap, or in the DynamoDB table
// of the traffic controllers. People write DesiredWeight; the controller alone writes CurrentWeight, when that is served. One file, one store.
package store
