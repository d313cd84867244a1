"""LlamaIndex's QdrantVectorStore, unmodified: two tenants with a collection of one name."""

import uuid

import pytest
from embedding import cosine, dense, shared, sparse
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import AsyncQdrantClient, QdrantClient

TEXTS = [
    "invoices of May are due on Monday",
    "invoices of June are due on Friday",
    "the harbour is closed on Monday",
    "a cat sleeps on a green hill",
    "green invoices for the harbour",
]
ASKED = "which invoices are due"


class Words(BaseEmbedding):
    def _get_text_embedding(self, text: str) -> list[float]:
        return dense(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return dense(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return dense(query)


def encode(texts: list[str]) -> tuple[list[list[int]], list[list[float]]]:
    made = [sparse(each) for each in texts]
    return [indices for indices, _ in made], [values for _, values in made]


def nodes(texts: list[str], whose: str) -> list[TextNode]:
    made = []
    for n, text in enumerate(texts):
        node = TextNode(id_=str(uuid.UUID(int=n + 1)), text=text, metadata={"n": n, "whose": whose})
        node.embedding = dense(text)
        # Two documents: the even ones and the odd ones.
        source = RelatedNodeInfo(node_id=f"doc-{n % 2}")
        node.relationships[NodeRelationship.SOURCE] = source
        made.append(node)
    return made


@pytest.fixture(params=[False, True], ids=["dense", "hybrid"])
def stores(request, deployment, acme, globex):
    """The store of each tenant: nodes have the same ids, and the other's are nearer to all that is asked."""
    made, name = [], f"li-{uuid.uuid4().hex[:8]}"
    for tenant, texts in (("acme", TEXTS), ("globex", [f"{ASKED} {n}" for n in range(20)])):
        credential = {"url": deployment.qdrant_url, "api_key": deployment.token(tenant)}
        more = {"sparse_doc_fn": encode, "sparse_query_fn": encode} if request.param else {}
        store = QdrantVectorStore(
            collection_name=name,
            client=QdrantClient(**credential, timeout=30),
            aclient=AsyncQdrantClient(**credential, timeout=30),
            enable_hybrid=request.param,
            **more,
        )
        store.add(nodes(texts, tenant))
        made.append(store)
    yield made
    for store in made:
        store.client.delete_collection(name)
        store.client.close()


def asked(k: int = 3, **more: object) -> VectorStoreQuery:
    return VectorStoreQuery(query_embedding=dense(ASKED), similarity_top_k=k, **more)


def only(key: str, value: object, operator: FilterOperator = FilterOperator.EQ) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=operator)])


def ns(found: object) -> list[int]:
    return [each.metadata["n"] for each in found.nodes]


def test_nodes_are_found_by_their_tenant_alone(stores):
    ours, theirs = stores
    found = ours.query(asked(10))
    expected = sorted(range(5), key=lambda n: cosine(ASKED, TEXTS[n]), reverse=True)
    assert ns(found) == expected
    assert found.similarities == pytest.approx(
        [cosine(ASKED, TEXTS[n]) for n in expected], rel=1e-3
    )
    assert [each.text for each in found.nodes] == [TEXTS[n] for n in expected]
    assert {each.metadata["whose"] for each in found.nodes} == {"acme"}
    assert len(theirs.query(asked(50)).nodes) == 20


@pytest.mark.parametrize("stores", [True], indirect=True, ids=["hybrid"])
def test_words_and_both(stores):
    ours, _ = stores
    words = asked(3, query_str=ASKED, mode=VectorStoreQueryMode.SPARSE)
    found = ours.query(words)
    assert found.similarities == sorted((shared(ASKED, each) for each in TEXTS), reverse=True)[:3]
    both = asked(3, query_str=ASKED, mode=VectorStoreQueryMode.HYBRID, sparse_top_k=3)
    found = ours.query(both)
    assert {each.metadata["whose"] for each in found.nodes} == {"acme"}
    assert ns(found)[0] in (0, 1)


def test_filters(stores):
    ours, _ = stores
    for operator, value, expected in (
        (FilterOperator.EQ, 2, {2}),
        (FilterOperator.NE, 2, {0, 1, 3, 4}),
        (FilterOperator.GT, 2, {3, 4}),
        (FilterOperator.GTE, 2, {2, 3, 4}),
        (FilterOperator.LT, 2, {0, 1}),
        (FilterOperator.LTE, 2, {0, 1, 2}),
        (FilterOperator.IN, [0, 4, 9], {0, 4}),
        (FilterOperator.NIN, [0, 4, 9], {1, 2, 3}),
    ):
        found = ours.query(asked(10, filters=only("n", value, operator)))
        assert set(ns(found)) == expected, operator
    both = MetadataFilters(
        filters=[only("n", 1), MetadataFilter(key="whose", value="globex")],
        condition=FilterCondition.OR,
    )
    assert ns(ours.query(asked(10, filters=both))) == [1]
    assert set(ns(ours.query(asked(10, doc_ids=["doc-1"])))) == {1, 3}


def test_nodes_are_fetched_and_removed(stores):
    ours, theirs = stores
    one = str(uuid.UUID(int=2))
    assert ours.get_nodes(node_ids=[one])[0].get_content() == TEXTS[1]
    assert theirs.get_nodes(node_ids=[one])[0].get_content() == f"{ASKED} 1"
    assert {each.metadata["n"] for each in ours.get_nodes(filters=only("n", 3))} == {3}
    ours.delete("doc-0")
    assert set(ns(ours.query(asked(10)))) == {1, 3}
    ours.delete_nodes(node_ids=[one])
    assert set(ns(ours.query(asked(10)))) == {3}
    assert len(theirs.query(asked(50)).nodes) == 20
    ours.clear()
    assert theirs.client.collection_exists(theirs.collection_name)
    assert not ours.client.collection_exists(ours.collection_name)


def test_an_index_over_it(stores):
    ours, _ = stores
    context = StorageContext.from_defaults(vector_store=ours)
    index = VectorStoreIndex([], storage_context=context, embed_model=Words())
    node = TextNode(text=f"{ASKED} of the index", metadata={"n": 77, "whose": "acme"})
    index.insert_nodes([node])
    found = index.as_retriever(similarity_top_k=2).retrieve(f"{ASKED} of the index")
    assert found[0].node.metadata["n"] == 77
    assert found[0].node.get_content() == f"{ASKED} of the index"


async def test_asynchronously(stores):
    ours, theirs = stores
    found = await ours.aquery(asked(2))
    assert set(ns(found)) == {0, 1}
    more = TextNode(id_=str(uuid.uuid4()), text=ASKED, metadata={"n": 50, "whose": "acme"})
    more.embedding = dense(ASKED)
    await ours.async_add([more])
    assert ns(await ours.aquery(asked(1))) == [50]
    await ours.adelete_nodes(node_ids=[more.node_id])
    assert 50 not in ns(await ours.aquery(asked(10)))
    assert len((await theirs.aquery(asked(50))).nodes) == 20
    for store in stores:
        await store._aclient.close()
