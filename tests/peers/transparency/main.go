// Judges a checkpoint, its cosignatures and its proofs by Go's golang.org/x/mod/sumdb, which knows nothing of this project.
// One JSON object on standard input; prints what was accepted and refused, as JSON.
package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type inclusion struct {
	Index, Size int64
	Leaf, Root  []byte
	Proof       [][]byte
}

type consistency struct {
	Old, New         int64
	OldRoot, NewRoot []byte
	Proof            [][]byte
}

type question struct {
	Note, Key   string
	Witnesses   []string
	Body        []byte
	BodyLeaf    []byte
	Inclusion   []inclusion
	Consistency []consistency
}

type answer struct {
	Origin      string
	Size        int64
	Signed      []string
	Times       map[string]uint64
	Leaf        bool
	Inclusion   []bool
	Consistency []bool
}

// cosigner is C2SP tlog-cosignature version 1: note.NewVerifier knows Ed25519 without a time only.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
	time uint64
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }
func (c *cosigner) Verify(message, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	c.time = binary.BigEndian.Uint64(signature)
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", c.time, message)
	return ed25519.Verify(c.key, []byte(signed), signature[8:])
}

func newCosigner(line string) *cosigner {
	parts := strings.SplitN(line, "+", 3)
	hash, err := strconv.ParseUint(parts[1], 16, 32)
	check(err)
	data, err := base64.StdEncoding.DecodeString(parts[2])
	check(err)
	if data[0] != 4 {
		panic("not a cosigner's key")
	}
	return &cosigner{name: parts[0], hash: uint32(hash), key: data[1:]}
}

func hashOf(data []byte) (hash tlog.Hash) {
	copy(hash[:], data)
	return hash
}

func hashesOf(list [][]byte) (hashes []tlog.Hash) {
	for _, data := range list {
		hashes = append(hashes, hashOf(data))
	}
	return hashes
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	var asked question
	check(json.NewDecoder(os.Stdin).Decode(&asked))
	told := answer{Times: map[string]uint64{}}
	gateway, err := note.NewVerifier(asked.Key)
	check(err)
	known := []note.Verifier{gateway}
	for _, line := range asked.Witnesses {
		known = append(known, newCosigner(line))
	}
	opened, err := note.Open([]byte(asked.Note), note.VerifierList(known...))
	check(err)
	for _, signature := range opened.Sigs {
		told.Signed = append(told.Signed, signature.Name)
	}
	for _, verifier := range known[1:] {
		told.Times[verifier.Name()] = verifier.(*cosigner).time
	}
	lines := strings.Split(opened.Text, "\n")
	told.Origin = lines[0]
	told.Size, err = strconv.ParseInt(lines[1], 10, 64)
	check(err)
	told.Leaf = tlog.RecordHash(asked.Body) == hashOf(asked.BodyLeaf)
	for _, each := range asked.Inclusion {
		err := tlog.CheckRecord(hashesOf(each.Proof), each.Size, hashOf(each.Root), each.Index, hashOf(each.Leaf))
		told.Inclusion = append(told.Inclusion, err == nil)
	}
	for _, each := range asked.Consistency {
		err := tlog.CheckTree(hashesOf(each.Proof), each.New, hashOf(each.NewRoot), each.Old, hashOf(each.OldRoot))
		told.Consistency = append(told.Consistency, err == nil)
	}
	check(json.NewEncoder(os.Stdout).Encode(told))
}
