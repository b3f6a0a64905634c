// Command flagger builds a Flagger that knows the providers skipper and dns-weighted of Penstock, from the unmodified module of
// Flagger that go.mod names. No fork has to be kept: the lines that README asks of a fork are inserted into a
// copy of two of its files, and what comes out is Flagger with all its flags and all its other providers.
//
//	go run . -o flagger
//	go run . -o flagger -platform linux/arm64
//
// The insertion is made by the shape of the code, not by line numbers. It takes that of the version in go.mod only, and fails with an error that
// says what it expected and what it found when another version of Flagger has another shape: lines that are not asked would be worse.
// The binary is static, and the Dockerfile puts it into an image.
package main
