package store_test

import (
	"testing"

	"go.uber.org/goleak"
)

// atEnd is called between the last test and the search for leaks.
var atEnd = func() {}

type tests struct{ *testing.M }

func (m tests) Run() int {
	code := m.M.Run()
	atEnd()
	return code
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }
