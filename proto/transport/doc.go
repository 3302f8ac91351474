// Package transport is the part of the contract that the message types do not
// say: how programs prove who they are to each other (mTLS with a SPIFFE ID in
// the certificate), and what rides along with every call as metadata.
package transport
