// Command flagger builds a Flagger that knows the providers skipper and dns-weighted of Penstock, from the unmodified module of
// Flagger that go.mod names. No fork has to be kept: the lines that README asks of a fork are inserted into a
// copy of two of its files, and what comes out is Flagger with all its flags and all its other providers.
//
//	go run . -o flagger
//
// The insertion is made by the shape of the code, not by line numbers, and fails with an error that says what it looked for when
// another version of Flagger has another shape.
package main
