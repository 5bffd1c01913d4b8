// Package bucket reads and writes files that are objects of a store: Amazon S3 and every
// server that speaks its protocol, Google Cloud Storage, Azure Blob Storage. It also writes
// to folders of this machine.
//
//	s3://bucket/folder/file.csv        gs://bucket/…        azblob://container/…
//
// The first part after the scheme is the bucket, the rest is the key. A key is
// percent-encoded where it holds % or ?; parameters follow a ?, see [Parse]. Credentials
// are never part of a URL: they come from where the store's own tools look for them, the
// environment first. The clients of Google and Azure are only in a program that was built
// with the tag allstores.
//
// Guarantees. A reading gives the bytes of one version of an object, whole, or an error: a
// connection that breaks, or an answer that ends early, resumes where it stopped, with the
// same version or not at all ([ErrChanged]). Reading writes nothing. A file that is written
// appears whole or not at all.
//
// Failure. [ErrUnavailable] is a store that does not answer, or not now: the same call may
// succeed later. That an object is not there, or may not be read, is an answer and
// fs.ErrNotExist or fs.ErrPermission.
package bucket
