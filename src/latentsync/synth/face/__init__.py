"""The person: mesh, identity, skin, hair, clothes and their assembly into a head that can be posed."""
